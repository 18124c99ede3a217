// SPDX-License-Identifier: Apache-2.0
//! The batch file of the first boot. cmd.exe is on every Windows of every architecture, also on
//! Server Core, and is no foreign program that a policy would stop.

/// The file, with the guest's build in it. `pnputil` has other words from 1607 (14393) on, and can
/// remove devices from 1903 (18362) on.
pub(super) fn text(build: u32, service: &str) -> String {
    let text = SCRIPT
        .replace("@BUILD@", &build.to_string())
        .replace("@SERVICE@", service);
    text.replace('\n', "\r\n")
}

/// Every step fails alone and is done once; a user's script is taken away before it starts. After
/// three starts that came to no end the rest is given up.
const SCRIPT: &str = r#"@echo off
rem Written by guestfix: what is left to do at the first boot on the new machine.
rem Its log is firstboot.log beside it, the state of each step is in the folder state.
setlocal EnableExtensions DisableDelayedExpansion
set "GF=%~dp0"
set GF_BUILD=@BUILD@
set "PATH=%SystemRoot%\System32;%SystemRoot%;%SystemRoot%\System32\Wbem;%SystemRoot%\System32\WindowsPowerShell\v1.0"
cd /d "%GF%"
if not exist state md state
call :main >>firstboot.log 2>&1
if exist state\done del /q "%~f0" & exit 0
exit 0

:main
rem Started on the old machine once more: nothing of this is for it.
reg query HKLM\HARDWARE\DESCRIPTION\System\BIOS /v SystemManufacturer 2>nul | find "VMware" >nul
if not errorlevel 1 echo %DATE% %TIME% still on VMware
if not errorlevel 1 exit /b 0
set GF_N=0
if exist state\attempts set /p GF_N=<state\attempts
set /a GF_N+=1
>state\attempts echo %GF_N%
echo %DATE% %TIME% attempt %GF_N%
icacls "%GF%." /inheritance:r /grant:r *S-1-5-18:(OI)(CI)F *S-1-5-32-544:(OI)(CI)F >nul
if %GF_N% GTR 3 goto finish
call :step drivers
if defined GF_REBOOT if not exist state\rebooted goto reboot
call :step network
call :step agent
call :step packages
call :step devices
for %%s in (scripts\*) do call :script "%%s"
goto finish

:reboot
echo %DATE% %TIME% a driver asks for a restart
>state\rebooted echo %GF_N%
shutdown /r /t 5 /f
exit /b 0

:finish
>state\done echo %GF_N%
echo %DATE% %TIME% done
sc delete @SERVICE@
if errorlevel 1 reg delete HKLM\SYSTEM\CurrentControlSet\Services\@SERVICE@ /f
if exist scripts rd /s /q scripts
if exist ran rd /s /q ran
for %%f in (network.cmd packages.txt devices.txt qemu-ga.msi) do if exist %%f del /q %%f
exit /b 0

:step
if exist state\%~1 exit /b 0
echo %DATE% %TIME% %~1 starts
set GF_STEP=0
call :%~1
>state\%~1 echo %GF_STEP%
echo %DATE% %TIME% %~1 ended with %GF_STEP%
exit /b 0

:drivers
if not exist "%SystemRoot%\Drivers\VirtIO" exit /b 0
cd /d "%SystemRoot%\Drivers\VirtIO"
for %%f in (*.inf) do call :driver "%SystemRoot%\Drivers\VirtIO\%%f"
cd /d "%GF%"
exit /b 0

:driver
echo pnputil %~nx1
if %GF_BUILD% LSS 14393 goto olddriver
pnputil /add-driver "%~1" /install
goto judge
:olddriver
pnputil -i -a "%~1"
:judge
set GF_RC=%ERRORLEVEL%
if %GF_RC%==3010 set GF_REBOOT=1
if %GF_RC%==1641 set GF_REBOOT=1
for %%r in (0 259 1641 3010) do if %GF_RC%==%%r exit /b 0
echo it ended with %GF_RC%
set GF_STEP=%GF_RC%
exit /b 0

:network
if not exist network.cmd exit /b 0
call network.cmd
if errorlevel 1 set GF_STEP=1
exit /b 0

:agent
if not exist qemu-ga.msi exit /b 0
set GF_TRY=0
:msi
msiexec /i "%GF%qemu-ga.msi" /qn /norestart /l*v "%GF%qemu-ga.log"
set GF_RC=%ERRORLEVEL%
for %%r in (0 1641 3010) do if %GF_RC%==%%r exit /b 0
set /a GF_TRY+=1
rem 1618: another installation goes on.
if %GF_RC%==1618 if %GF_TRY% LSS 10 goto msiwait
set GF_STEP=%GF_RC%
exit /b 0
:msiwait
ping -n 31 127.0.0.1 >nul
goto msi

:packages
if not exist packages.txt exit /b 0
for /f "usebackq delims=" %%p in ("packages.txt") do call :package %%p
exit /b 0

:package
if %GF_BUILD% LSS 14393 goto oldpackage
pnputil /delete-driver %~1 /uninstall /force
if errorlevel 1 set GF_STEP=1
exit /b 0
:oldpackage
pnputil -f -d %~1
if errorlevel 1 set GF_STEP=1
exit /b 0

:devices
if not exist devices.txt exit /b 0
if %GF_BUILD% LSS 18362 exit /b 0
for /f "usebackq delims=" %%d in ("devices.txt") do pnputil /remove-device "%%d"
exit /b 0

:script
if not exist ran md ran
move /y "%~1" "ran\%~nx1" >nul
if errorlevel 1 exit /b 0
echo %DATE% %TIME% %~nx1 starts
if /i "%~x1"==".ps1" powershell -NoProfile -NonInteractive -ExecutionPolicy Bypass -File "ran\%~nx1" <nul
if /i not "%~x1"==".ps1" cmd /d /c "ran\%~nx1" <nul
echo %DATE% %TIME% %~nx1 ended with %ERRORLEVEL%
exit /b 0
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_that_is_called_is_there_once() {
        let text = text(7601, "X");
        let lines: Vec<&str> = text.split("\r\n").collect();
        assert!(
            lines
                .iter()
                .all(|line| !line.contains('\n') && line.is_ascii())
        );
        let labels: Vec<&str> = lines
            .iter()
            .filter_map(|line| line.strip_prefix(':'))
            .collect();
        let mut once = labels.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), labels.len());
        for line in &lines {
            for (word, start) in [("call :", 6), ("goto ", 5)] {
                let Some(at) = line.find(word) else { continue };
                let target: String = line[at + start..]
                    .chars()
                    .take_while(|c| c.is_ascii_alphanumeric())
                    .collect();
                assert!(
                    target.is_empty() || labels.contains(&target.as_str()),
                    "{line}"
                );
            }
        }
        for step in ["drivers", "network", "agent", "packages", "devices"] {
            assert!(
                labels.contains(&step) && text.contains(&format!("call :step {step}")),
                "{step}"
            );
        }
        assert!(!text.contains("C:\\"));
    }
}
